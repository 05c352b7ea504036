output "outputs" {
  description = "Where everything is: the same as in the SSM parameter."
  value       = local.outputs
}

output "parameter" {
  description = "Name of the SSM parameter that a laptop reads."
  value       = aws_ssm_parameter.outputs.name
}

output "policies" {
  description = "What each role may do, as JSON, for whoever has to approve of it."
  value       = module.roles.policies
}
