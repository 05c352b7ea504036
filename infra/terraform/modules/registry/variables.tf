variable "repository" {
  description = "Name of the repository, such as cloudfn/main."
  type        = string
}

variable "kms_key_arn" {
  description = "A KMS key of yours for the images; null takes ECR's own key."
  type        = string
  default     = null
}

variable "untagged_days" {
  description = "After how many days an image without a tag is removed. Deploy tags what a revision needs."
  type        = number
  default     = 7

  validation {
    condition     = var.untagged_days >= 1
    error_message = "untagged_days must be at least 1."
  }
}

variable "protect" {
  description = "Whether the repository refuses to be deleted while there are images in it."
  type        = bool
  default     = true
}
