output "url" {
  description = "What images are pushed to: host and repository. They are pulled by digest."
  value       = aws_ecr_repository.images.repository_url
}

output "name" {
  description = "Name of the repository."
  value       = aws_ecr_repository.images.name
}
