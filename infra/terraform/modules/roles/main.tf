locals {
  account = "arn:${var.partition}:iam::${var.account_id}:root"

  trusted = {
    agent    = { Service = "ec2.amazonaws.com" }
    planner  = { Service = "lambda.amazonaws.com" }
    deployer = { AWS = coalescelist(var.deployers, [local.account]) }
    invoker  = { AWS = coalescelist(var.invokers, [local.account]) }
  }

  documents = {
    for name in concat(keys(local.trusted), ["limits"]) : name => templatefile("${path.module}/policies/${name}.json.tftpl", {
      account_id  = var.account_id
      bucket      = var.bucket
      environment = var.environment
      name        = var.name
      partition   = var.partition
      region      = var.region
    })
  }
}

resource "aws_iam_role" "this" {
  for_each = local.trusted

  description = "cloudfn's ${each.key} in ${var.environment}"
  name        = "${var.name}-${each.key}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = each.value
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  #checkov:skip=CKV_AWS_355:what stands for all resources are actions that know no resource
  for_each = local.trusted

  name   = "cloudfn"
  policy = local.documents[each.key]
  role   = aws_iam_role.this[each.key].id
}

# Whoever deploys a function also calls it, and could have it do what callers may anyway.
resource "aws_iam_role_policy" "calls" {
  #checkov:skip=CKV_AWS_355:what stands for all resources are actions that know no resource
  name   = "calls"
  policy = local.documents["invoker"]
  role   = aws_iam_role.this["deployer"].id
}

# One table holds everything; those who only call and run have no business with some of it.
resource "aws_iam_role_policy" "limits" {
  for_each = toset(["agent", "invoker"])

  name   = "limits"
  policy = local.documents["limits"]
  role   = aws_iam_role.this[each.key].id
}

resource "aws_iam_role_policy" "kms" {
  for_each = var.kms_key_arn == null ? toset([]) : toset(keys(local.trusted))

  name = "kms"
  role = aws_iam_role.this[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "UseTheKey"
      Effect = "Allow"
      # DynamoDB asks for all of them on behalf of whoever writes; others, to decrypt and for data keys.
      Action   = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
      Resource = var.kms_key_arn
    }]
  })
}
