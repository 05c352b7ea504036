output "dead_letter_url" {
  description = "URL of the dead-letter queue, whose consumer marks the ledger."
  value       = aws_sqs_queue.dead.id
}

output "dead_letter_arn" {
  description = "ARN of the dead-letter queue."
  value       = aws_sqs_queue.dead.arn
}

output "defaults" {
  description = "What deploy gives each queue: prefix of its name, attributes as SQS names them, and its policy with %s for its ARN."
  value = {
    prefix = "${var.name}-"
    attributes = merge(
      {
        MessageRetentionPeriod        = tostring(var.retention_days * 86400)
        ReceiveMessageWaitTimeSeconds = "20"
        RedrivePolicy = jsonencode({
          deadLetterTargetArn = "${local.arn_prefix}-dead"
          maxReceiveCount     = var.max_receives
        })
        VisibilityTimeout = tostring(var.visibility_seconds)
      },
      var.kms_key_arn == null ? { SqsManagedSseEnabled = "true" } : { KmsMasterKeyId = var.kms_key_arn },
    )
    policy = jsonencode(local.policy)
  }
}
