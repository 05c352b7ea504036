locals {
  own   = var.existing == null
  zones = local.own ? slice(data.aws_availability_zones.open[0].names, 0, min(var.zones, length(data.aws_availability_zones.open[0].names))) : []

  # What an agent talks to, beside S3 and DynamoDB, whose gateway endpoints cost nothing.
  needed    = ["autoscaling", "ec2", "ecr.api", "ecr.dkr", "lambda", "logs", "sqs", "ssm", "ssmmessages"]
  endpoints = local.own ? setunion(var.interface_endpoints, var.egress == "none" ? local.needed : []) : []
}

data "aws_availability_zones" "open" {
  #checkov:skip=CKV_AWS_394:the first in order are taken, var.zones of them: a new one changes nothing
  count = local.own ? 1 : 0

  state = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

resource "aws_vpc" "this" {
  #checkov:skip=CKV2_AWS_11:flow logs bill by the byte; nothing listens here, and an owner can add them to vpc_id
  count = local.own ? 1 : 0

  cidr_block           = var.cidr
  enable_dns_hostnames = true
  enable_dns_support   = true

  tags = { Name = var.name }
}

# The default group of a new VPC lets its members talk to each other. Nobody is a member, and nobody could talk.
resource "aws_default_security_group" "closed" {
  count = local.own ? 1 : 0

  vpc_id = aws_vpc.this[0].id
}

resource "aws_subnet" "machines" {
  #checkov:skip=CKV_AWS_130:public addresses only where egress = "addresses" asks for them; no group lets anything in
  count = length(local.zones)

  availability_zone       = local.zones[count.index]
  cidr_block              = cidrsubnet(var.cidr, 4, count.index)
  map_public_ip_on_launch = var.egress == "addresses"
  vpc_id                  = aws_vpc.this[0].id

  tags = { Name = "${var.name}-machines-${local.zones[count.index]}" }
}

resource "aws_route_table" "machines" {
  count = local.own ? 1 : 0

  vpc_id = aws_vpc.this[0].id

  tags = { Name = "${var.name}-machines" }
}

resource "aws_route_table_association" "machines" {
  count = length(local.zones)

  route_table_id = aws_route_table.machines[0].id
  subnet_id      = aws_subnet.machines[count.index].id
}

resource "aws_internet_gateway" "this" {
  count = local.own && var.egress != "none" ? 1 : 0

  vpc_id = aws_vpc.this[0].id

  tags = { Name = var.name }
}

resource "aws_route" "out" {
  count = local.own && var.egress != "none" ? 1 : 0

  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = var.egress == "addresses" ? aws_internet_gateway.this[0].id : null
  nat_gateway_id         = var.egress == "nat" ? aws_nat_gateway.this[0].id : null
  route_table_id         = aws_route_table.machines[0].id
}

resource "aws_vpc_endpoint" "gateway" {
  for_each = local.own ? toset(["dynamodb", "s3"]) : toset([])

  route_table_ids   = [aws_route_table.machines[0].id]
  service_name      = "com.amazonaws.${var.region}.${each.key}"
  vpc_endpoint_type = "Gateway"
  vpc_id            = aws_vpc.this[0].id

  tags = { Name = "${var.name}-${each.key}" }
}

resource "aws_vpc_endpoint" "interface" {
  for_each = toset(local.endpoints)

  private_dns_enabled = true
  security_group_ids  = [aws_security_group.endpoints[0].id]
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  subnet_ids          = aws_subnet.machines[*].id
  vpc_endpoint_type   = "Interface"
  vpc_id              = aws_vpc.this[0].id

  tags = { Name = "${var.name}-${each.key}" }
}

resource "aws_security_group" "endpoints" {
  count = length(local.endpoints) > 0 ? 1 : 0

  description = "HTTPS from machines of ${var.name} to the endpoints of AWS services"
  name        = "${var.name}-endpoints"
  vpc_id      = aws_vpc.this[0].id

  ingress {
    cidr_blocks = [var.cidr]
    description = "HTTPS from within the VPC"
    from_port   = 443
    protocol    = "tcp"
    to_port     = 443
  }

  tags = { Name = "${var.name}-endpoints" }
}
