# One NAT gateway with its subnet: egress = "nat". One for all zones: if its zone fails, machines elsewhere
# finish what they run on AWS's gateway endpoints, and new ones come when it is back.

locals {
  nat = local.own && var.egress == "nat" ? 1 : 0
}

resource "aws_subnet" "nat" {
  count = local.nat

  availability_zone = local.zones[0]
  cidr_block        = cidrsubnet(var.cidr, 4, 15)
  vpc_id            = aws_vpc.this[0].id

  tags = { Name = "${var.name}-nat" }
}

resource "aws_route_table" "nat" {
  count = local.nat

  vpc_id = aws_vpc.this[0].id

  tags = { Name = "${var.name}-nat" }
}

resource "aws_route" "nat" {
  count = local.nat

  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
  route_table_id         = aws_route_table.nat[0].id
}

resource "aws_route_table_association" "nat" {
  count = local.nat

  route_table_id = aws_route_table.nat[0].id
  subnet_id      = aws_subnet.nat[0].id
}

resource "aws_eip" "nat" {
  count = local.nat

  domain = "vpc"

  tags = { Name = "${var.name}-nat" }
}

resource "aws_nat_gateway" "this" {
  count = local.nat

  allocation_id = aws_eip.nat[0].id
  subnet_id     = aws_subnet.nat[0].id

  tags = { Name = var.name }

  depends_on = [aws_internet_gateway.this]
}
