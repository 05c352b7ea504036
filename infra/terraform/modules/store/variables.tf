variable "name" {
  description = "Prefix of every name, such as cloudfn-main. The table has this very name."
  type        = string
}

variable "bucket" {
  description = "Name of the bucket: unique among all of AWS, 3 to 63 characters."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "bucket must have 3 to 63 small letters, digits and hyphens."
  }
}

variable "input_retention_days" {
  description = "After how many days payloads of inputs, and of what clients put into dicts and queues, are removed. Those that are done with are removed at once: this is how long an input may wait."
  type        = number
  default     = 30

  validation {
    condition     = var.input_retention_days >= 8 && floor(var.input_retention_days) == var.input_retention_days
    error_message = "input_retention_days must be a whole number of at least 8."
  }
}

variable "retention_days" {
  description = "After how many days payloads of results are removed. The ledger forgets outcomes after 7."
  type        = number
  default     = 8

  validation {
    condition     = var.retention_days >= 8 && floor(var.retention_days) == var.retention_days
    error_message = "retention_days must be a whole number of at least 8: outcomes are kept for 7 days, and expiry works by the day."
  }
}

variable "kms_key_arn" {
  description = "A KMS key of yours for table and bucket; null takes the keys that AWS owns, which cost nothing."
  type        = string
  default     = null
}

variable "protect" {
  description = "Whether table and bucket refuse to be deleted while there is something in them."
  type        = bool
  default     = true
}
