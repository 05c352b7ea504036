output "outputs" {
  description = "Where everything is."
  value       = module.cloudfn.outputs
}
