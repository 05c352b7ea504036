output "vpc_id" {
  description = "Id of the VPC that machines run in."
  value       = local.own ? aws_vpc.this[0].id : var.existing.vpc_id
}

output "subnet_ids" {
  description = "Ids of the subnets that machines run in, one for each zone."
  value       = local.own ? aws_subnet.machines[*].id : var.existing.subnet_ids
}
