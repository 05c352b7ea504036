output "arns" {
  description = "ARN of each role, by name: agent, deployer, invoker, planner. Known once their policies are there."
  value       = { for role, policy in aws_iam_role_policy.this : role => aws_iam_role.this[role].arn }
}

output "names" {
  description = "Name of each role, by name."
  value       = { for role, policy in aws_iam_role_policy.this : role => aws_iam_role.this[role].name }
}

output "policies" {
  description = "What each role may do, as JSON."
  value       = local.policies
}
