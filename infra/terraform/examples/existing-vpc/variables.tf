variable "environment" {
  description = "Name of the environment."
  type        = string
  default     = "main"
}

variable "region" {
  description = "Region of everything, such as eu-central-1."
  type        = string
}

variable "bundle" {
  description = "Path of cloudfn's zip."
  type        = string
}

variable "protect" {
  description = "Whether what holds data refuses to be deleted. Set it to false before a destroy."
  type        = bool
  default     = true
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets from which AWS's services can be reached."
  type        = list(string)
}

variable "kms_key_arn" {
  description = "The key; null takes the keys that AWS owns."
  type        = string
  default     = null
}

variable "deployers" {
  description = "ARNs of those who may deploy."
  type        = list(string)
  default     = []
}

variable "invokers" {
  description = "ARNs of those who may call."
  type        = list(string)
  default     = []
}
