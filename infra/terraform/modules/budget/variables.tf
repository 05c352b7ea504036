variable "name" {
  description = "Name of the budget, such as cloudfn-main."
  type        = string
}

variable "environment" {
  description = "Environment whose cost counts: what carries the tag cloudfn:environment with this value."
  type        = string
}

variable "monthly_usd" {
  description = "US dollars a month. At 80 % of it, and when the forecast exceeds it, mail is sent; nothing is stopped."
  type        = number

  validation {
    condition     = var.monthly_usd > 0
    error_message = "monthly_usd must be more than 0."
  }
}

variable "emails" {
  description = "Who gets the mail."
  type        = list(string)

  validation {
    condition     = length(var.emails) >= 1 && length(var.emails) <= 10 && alltrue([for each in var.emails : can(regex("^[^@ ]+@[^@ ]+$", each))])
    error_message = "emails must be 1 to 10 addresses."
  }
}
