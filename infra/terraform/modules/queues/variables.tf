variable "name" {
  description = "Prefix of every queue of the environment, such as cloudfn-main."
  type        = string
}

variable "account_id" {
  description = "The account whose principals may use the queues."
  type        = string
}

variable "region" {
  description = "Region of the queues."
  type        = string
}

variable "partition" {
  description = "Partition of the account: aws, aws-cn or aws-us-gov."
  type        = string
  default     = "aws"
}

variable "kms_key_arn" {
  description = "A KMS key of yours for all queues; null takes SQS's own key, which costs nothing."
  type        = string
  default     = null
}

variable "visibility_seconds" {
  description = "How long a received doorbell stays hidden. Agents delete one as soon as they have claimed, so this is short."
  type        = number
  default     = 30

  validation {
    condition     = var.visibility_seconds >= 5 && var.visibility_seconds <= 43200
    error_message = "visibility_seconds must be from 5 to 43200."
  }
}

variable "max_receives" {
  description = "How often a doorbell is received before it goes to the dead-letter queue. Machines leave those that are not for them to others, so this is large."
  type        = number
  default     = 1000

  validation {
    condition     = var.max_receives >= 1 && var.max_receives <= 1000
    error_message = "max_receives must be from 1 to 1000."
  }
}

variable "retention_days" {
  description = "For how many days a doorbell that nobody received is kept."
  type        = number
  default     = 7

  validation {
    condition     = var.retention_days >= 1 && var.retention_days <= 14
    error_message = "retention_days must be from 1 to 14."
  }
}
