# Deploy makes a queue for each function, by `outputs.defaults`. What they share is here: the dead-letter queue, and who may use them.

locals {
  arn_prefix = "arn:${var.partition}:sqs:${var.region}:${var.account_id}:${var.name}"

  # Deny alone: what is allowed, the four roles say. `%s` is where a queue's ARN goes.
  policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OnlyEncryptedConnections"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = "%s"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "OnlyThisAccount"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = "%s"
        Condition = {
          StringNotEquals = { "aws:PrincipalAccount" = var.account_id }
          Bool            = { "aws:PrincipalIsAWSService" = "false" }
        }
      },
    ]
  }
}

resource "aws_sqs_queue" "dead" {
  kms_master_key_id          = var.kms_key_arn
  message_retention_seconds  = 14 * 86400
  name                       = "${var.name}-dead"
  receive_wait_time_seconds  = 20
  sqs_managed_sse_enabled    = var.kms_key_arn == null ? true : null
  visibility_timeout_seconds = 120
}

resource "aws_sqs_queue_policy" "dead" {
  policy    = replace(jsonencode(local.policy), "%s", aws_sqs_queue.dead.arn)
  queue_url = aws_sqs_queue.dead.id
}
