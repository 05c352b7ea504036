variable "name" {
  description = "Prefix of every name, such as cloudfn-main."
  type        = string
}

variable "environment" {
  description = "Environment that is planned for."
  type        = string
}

variable "role_arn" {
  description = "ARN of the planner's role."
  type        = string
}

variable "bundle" {
  description = "Where cloudfn's zip is: bucket, key, and the SHA-256 in base64, as Lambda compares it."
  type = object({
    bucket      = string
    key         = string
    hash_base64 = string
  })
}

variable "handler" {
  description = "Module and function that AWS Lambda calls."
  type        = string
  default     = "cloudfn.control.planner.handler.handler"
}

variable "memory_mib" {
  description = "Memory, and with it a share of a processor."
  type        = number
  default     = 512

  validation {
    condition     = var.memory_mib >= 128 && var.memory_mib <= 10240
    error_message = "memory_mib must be from 128 to 10240."
  }
}

variable "log_retention_days" {
  description = "For how many days the planner's own lines are kept."
  type        = number
  default     = 30
}

variable "kms_key_arn" {
  description = "A KMS key of yours for lines and variables; null takes AWS's own."
  type        = string
  default     = null
}
