variable "group" {
  description = "Name of the log group, such as /cloudfn/main."
  type        = string
}

variable "retention_days" {
  description = "For how many days lines are kept: one of the numbers that CloudWatch Logs knows."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.retention_days)
    error_message = "retention_days must be a number that CloudWatch Logs knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365 …"
  }
}

variable "kms_key_arn" {
  description = "A KMS key of yours for the lines; null takes CloudWatch's own key."
  type        = string
  default     = null
}
