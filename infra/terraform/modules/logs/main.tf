resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_158:kms_key_arn gives it a key of the user's; CloudWatch's own key encrypts it otherwise
  #checkov:skip=CKV_AWS_338:how long lines are kept, and billed, is the owner's choice
  kms_key_id        = var.kms_key_arn
  name              = var.group
  retention_in_days = var.retention_days
}
