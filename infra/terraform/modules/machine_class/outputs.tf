output "group" {
  description = "Name of the Auto Scaling Group."
  value       = aws_autoscaling_group.machines.name
}

output "summary" {
  description = "What the planner has to know of the class."
  value = {
    group          = aws_autoscaling_group.machines.name
    instance_types = var.instance_types
    architecture   = var.architecture
    gpu            = var.gpu
    purchase       = var.purchase
    max_machines   = var.max_machines
    disk_gib       = var.disk_gib
  }
}

output "user_data" {
  description = "What a machine runs when it starts. There is no secret in it."
  value       = local.boot
}
