variable "environment" {
  description = "Name of the environment: a part of every name. Apps of two environments know nothing of each other."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.environment)) && !endswith(var.environment, "-")
    error_message = "environment must be 1 to 20 small letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "region" {
  description = "Region of everything, the same as the provider's, such as eu-central-1."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be the name of a region, such as eu-central-1."
  }
}

variable "bundle" {
  description = "Path of cloudfn's zip: the package and what it needs, for agents and the planner alike."
  type        = string
}

variable "machine_classes" {
  description = "The shapes of machines, by name. See modules/machine_class for what each field means."
  type = map(object({
    instance_types = list(string)
    max_machines   = number
    architecture   = optional(string, "x86_64")
    gpu            = optional(bool, false)
    purchase       = optional(string, "on-demand")
    disk_gib       = optional(number, 60)
    warm_pool = optional(object({
      max_prepared = number
      min_size     = optional(number, 0)
      state        = optional(string, "Stopped")
    }))
    image           = optional(string)
    deadman_minutes = optional(number, 30)
  }))

  validation {
    condition     = length(var.machine_classes) > 0
    error_message = "machine_classes must have at least one class."
  }
}

variable "network" {
  description = "A network of its own (cidr, zones, egress, interface_endpoints), or an existing one. See modules/network."
  type = object({
    cidr                = optional(string, "10.64.0.0/16")
    zones               = optional(number, 3)
    egress              = optional(string, "nat")
    interface_endpoints = optional(set(string), [])
    existing = optional(object({
      vpc_id     = string
      subnet_ids = list(string)
    }))
  })
  default = {}
}

variable "budget" {
  description = "US dollars a month, and who is told when they are nearly spent; null sets no alarm."
  type = object({
    monthly_usd = number
    emails      = list(string)
  })
  default = null
}

variable "deployers" {
  description = "ARNs of those who may deploy. See modules/roles."
  type        = list(string)
  default     = []
}

variable "invokers" {
  description = "ARNs of those who may call. See modules/roles."
  type        = list(string)
  default     = []
}

variable "kms_key_arn" {
  description = "A KMS key of yours for everything that is stored, which CloudWatch Logs and the Auto Scaling service-linked role have to be let use; null takes the keys that AWS owns, which cost nothing."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null ? true : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key, not of an alias."
  }
}

variable "log_retention_days" {
  description = "For how many days log lines are kept."
  type        = number
  default     = 30
}

variable "protect" {
  description = "Whether what holds data refuses to be deleted while there is something in it. Set it to false before a destroy."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Further tags of machines and disks. For everything else, give them to the provider's default_tags."
  type        = map(string)
  default     = {}
}
