# The ledger: pages of inputs, chunks of outcomes, leases, heartbeats. `pk` and `sk` are the whole schema; the rest is the code's.
resource "aws_dynamodb_table" "ledger" {
  #checkov:skip=CKV_AWS_119:kms_key_arn gives it a key of the user's; AWS's own key encrypts it otherwise
  billing_mode                = "PAY_PER_REQUEST"
  deletion_protection_enabled = var.protect
  hash_key                    = "pk"
  name                        = var.name
  range_key                   = "sk"

  attribute {
    name = "pk"
    type = "S"
  }

  attribute {
    name = "sk"
    type = "S"
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = var.kms_key_arn != null
    kms_key_arn = var.kms_key_arn
  }

  ttl {
    attribute_name = "expires"
    enabled        = true
  }

  lifecycle {
    prevent_destroy = true
  }
}
