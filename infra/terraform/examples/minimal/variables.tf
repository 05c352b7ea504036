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
