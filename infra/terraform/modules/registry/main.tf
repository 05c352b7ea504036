resource "aws_ecr_repository" "images" {
  #checkov:skip=CKV_AWS_136:kms_key_arn gives it a key of the user's; ECR's own key encrypts it otherwise
  force_delete         = !var.protect
  image_tag_mutability = "IMMUTABLE"
  name                 = var.repository

  encryption_configuration {
    encryption_type = var.kms_key_arn == null ? "AES256" : "KMS"
    kms_key         = var.kms_key_arn
  }

  image_scanning_configuration {
    scan_on_push = true
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_ecr_lifecycle_policy" "images" {
  repository = aws_ecr_repository.images.name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Remove what no revision names"
      action       = { type = "expire" }
      selection = {
        tagStatus   = "untagged"
        countType   = "sinceImagePushed"
        countUnit   = "days"
        countNumber = var.untagged_days
      }
    }]
  })
}
