locals {
  function = "${var.name}-planner"
}

module "logs" {
  source = "../logs"

  group          = "/aws/lambda/${local.function}"
  kms_key_arn    = var.kms_key_arn
  retention_days = var.log_retention_days
}

# Ticks each second under a lease while anything is active, until the next minute takes over; leaves at once when nothing is.
resource "aws_lambda_function" "planner" {
  #checkov:skip=CKV_AWS_50:the planner keeps every snapshot with its decision; traces would say less
  #checkov:skip=CKV_AWS_115:a reservation needs a quota that new accounts do not have; the lease lets one work
  #checkov:skip=CKV_AWS_116:an invocation that failed is made up for by the next minute's
  #checkov:skip=CKV_AWS_117:it talks to AWS's services alone, and a VPC would need a NAT gateway for that
  #checkov:skip=CKV_AWS_173:its variables are names
  #checkov:skip=CKV_AWS_272:the bundle is named by its digest
  architectures    = ["arm64"]
  description      = "cloudfn's planner of ${var.environment}"
  function_name    = local.function
  handler          = var.handler
  kms_key_arn      = var.kms_key_arn
  memory_size      = var.memory_mib
  role             = var.role_arn
  runtime          = "python3.12"
  s3_bucket        = var.bundle.bucket
  s3_key           = var.bundle.key
  source_code_hash = var.bundle.hash_base64
  timeout          = 100

  environment {
    variables = { CLOUDFN_ENVIRONMENT = var.environment }
  }

  depends_on = [module.logs]
}

# Two asynchronous invocations at a time are one too many; an old one is worth nothing.
resource "aws_lambda_function_event_invoke_config" "planner" {
  function_name                = aws_lambda_function.planner.function_name
  maximum_event_age_in_seconds = 60
  maximum_retry_attempts       = 0
}

resource "aws_cloudwatch_event_rule" "minute" {
  description         = "Wakes cloudfn's planner of ${var.environment}"
  name                = local.function
  schedule_expression = "rate(1 minute)"
}

resource "aws_cloudwatch_event_target" "minute" {
  arn       = aws_lambda_function.planner.arn
  input     = jsonencode({ source = "minute" })
  rule      = aws_cloudwatch_event_rule.minute.name
  target_id = "planner"
}

resource "aws_lambda_permission" "minute" {
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.planner.function_name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.minute.arn
  statement_id  = "minute"
}
