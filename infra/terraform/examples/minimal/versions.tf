terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}

# The rest of it, bucket and region, is given to `terraform init -backend-config=…`.
terraform {
  backend "s3" {
    encrypt      = true
    key          = "cloudfn/terraform.tfstate"
    use_lockfile = true
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      "cloudfn:environment" = var.environment
      "cloudfn:managed-by"  = "terraform"
    }
  }
}
