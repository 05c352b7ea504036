output "group" {
  description = "Name of the schedule group."
  value       = aws_scheduler_schedule_group.this.name
}

output "role_arn" {
  description = "ARN of the role that schedules act with."
  value       = aws_iam_role.scheduler.arn
}
