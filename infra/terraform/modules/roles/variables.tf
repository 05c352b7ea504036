variable "name" {
  description = "Prefix of every name, such as cloudfn-main."
  type        = string
}

variable "environment" {
  description = "Environment whose resources the roles may use, and no other's."
  type        = string
}

variable "account_id" {
  description = "Account of the resources."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id must be 12 digits."
  }
}

variable "region" {
  description = "Region of the resources."
  type        = string
}

variable "partition" {
  description = "Partition of the account: aws, aws-cn or aws-us-gov."
  type        = string
  default     = "aws"
}

variable "bucket" {
  description = "Name of the environment's bucket."
  type        = string
}

variable "deployers" {
  description = "ARNs of the users and roles that may take the deployer's role; none leaves it to what the account's own policies allow."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for each in var.deployers : can(regex("^arn:[a-z-]+:(iam|sts)::[0-9]{12}:[^*]+$", each))])
    error_message = "deployers must be ARNs of users or roles, without *."
  }
}

variable "invokers" {
  description = "ARNs of the users and roles that may take the invoker's role; none leaves it to what the account's own policies allow."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for each in var.invokers : can(regex("^arn:[a-z-]+:(iam|sts)::[0-9]{12}:[^*]+$", each))])
    error_message = "invokers must be ARNs of users or roles, without *."
  }
}

variable "kms_key_arn" {
  description = "A KMS key of yours that everything is encrypted with; null where there is none."
  type        = string
  default     = null
}
