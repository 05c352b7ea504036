variable "name" {
  description = "Prefix of every name, such as cloudfn-main. The group has this very name."
  type        = string
}

variable "environment" {
  description = "Environment whose schedules these are."
  type        = string
}

variable "account_id" {
  description = "Account of the schedules."
  type        = string
}

variable "region" {
  description = "Region of the schedules."
  type        = string
}

variable "partition" {
  description = "Partition of the account: aws, aws-cn or aws-us-gov."
  type        = string
  default     = "aws"
}

variable "planner_arn" {
  description = "ARN of the planner's function, which schedules invoke with a name and a due time."
  type        = string
}
