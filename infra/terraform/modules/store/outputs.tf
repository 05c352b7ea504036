output "table" {
  description = "Name of the ledger's table."
  value       = aws_dynamodb_table.ledger.name
}

output "bucket" {
  description = "Name of the bucket, once everything that protects it is there."
  value       = aws_s3_bucket_policy.data.bucket
}
