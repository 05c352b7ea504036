output "group" {
  description = "Name of the log group."
  value       = aws_cloudwatch_log_group.this.name
}
