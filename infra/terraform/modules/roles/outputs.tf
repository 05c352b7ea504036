output "arns" {
  description = "ARN of each role, by name: agent, deployer, invoker, planner. Known once their policies are there."
  value       = { for role, policy in aws_iam_role_policy.this : role => aws_iam_role.this[role].arn }
}

output "names" {
  description = "Name of each role, by name."
  value       = { for role, policy in aws_iam_role_policy.this : role => aws_iam_role.this[role].name }
}

output "policies" {
  description = "What roles may do, as JSON, by document: each has the one of its name, the deployer the invoker's as well, agent and invoker also limits."
  value       = local.documents
}
