output "arn" {
  description = "ARN of the planner's function."
  value       = aws_lambda_function.planner.arn
}

output "name" {
  description = "Name of the planner's function."
  value       = aws_lambda_function.planner.function_name
}
