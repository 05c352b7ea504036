variable "name" {
  description = "Prefix of every name, such as cloudfn-main."
  type        = string
}

variable "environment" {
  description = "Environment that the machines work for."
  type        = string
}

variable "machine_class" {
  description = "Name of the class, such as cpu or l4."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.machine_class))
    error_message = "machine_class must be 1 to 20 small letters, digits and hyphens, and begin with a letter."
  }
}

variable "instance_types" {
  description = "Types that may be taken, in order of preference: of one architecture, and of one size where functions are packed closely."
  type        = list(string)

  validation {
    condition     = length(var.instance_types) >= 1 && alltrue([for each in var.instance_types : can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", each))])
    error_message = "instance_types must be one or more types such as m7i.large."
  }
}

variable "architecture" {
  description = "Processor of the types: x86_64 or arm64."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "architecture must be x86_64 or arm64."
  }
}

variable "gpu" {
  description = "Whether the types have NVIDIA GPUs: the image has the driver then."
  type        = bool
  default     = false
}

variable "purchase" {
  description = "spot or on-demand. A class is purely one of them: for both, make two classes."
  type        = string
  default     = "on-demand"

  validation {
    condition     = contains(["on-demand", "spot"], var.purchase)
    error_message = "purchase must be on-demand or spot."
  }
}

variable "max_machines" {
  description = "How many machines there are at most, whatever the planner wants."
  type        = number

  validation {
    condition     = var.max_machines >= 1 && var.max_machines <= 5000 && floor(var.max_machines) == var.max_machines
    error_message = "max_machines must be a whole number from 1 to 5000."
  }
}

variable "disk_gib" {
  description = "Size of the encrypted disk, in GiB: the system, images, volumes."
  type        = number
  default     = 60

  validation {
    condition     = var.disk_gib >= 30 && var.disk_gib <= 16384
    error_message = "disk_gib must be from 30 to 16384."
  }
}

variable "image" {
  description = "An AMI's id, or resolve:ssm: with the name of a parameter that holds one; null takes Amazon's own, with Docker and, for GPUs, the driver."
  type        = string
  default     = null

  validation {
    condition     = var.image == null ? true : can(regex("^(ami-[0-9a-f]+|resolve:ssm:.+)$", var.image))
    error_message = "image must be ami-… or resolve:ssm:…"
  }
}

variable "vpc_id" {
  description = "VPC of the machines."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets that machines may run in."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) > 0
    error_message = "subnet_ids must not be empty."
  }
}

variable "role_name" {
  description = "Name of the role that agents have."
  type        = string
}

variable "kms_key_arn" {
  description = "A KMS key of yours for the disks; null takes EBS's own key. The Auto Scaling service-linked role needs to use it."
  type        = string
  default     = null
}

variable "boot" {
  description = "What a machine starts: region, bucket and key of the bundle, its SHA-256, the Python that runs it, and after how many quiet minutes a machine ends itself."
  type = object({
    region          = string
    bucket          = string
    key             = string
    sha256          = string
    python          = optional(string, "python3.11")
    module          = optional(string, "cloudfn.machine")
    deadman_minutes = optional(number, 30)
  })

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.boot.sha256))
    error_message = "boot.sha256 must be 64 hexadecimal digits."
  }

  validation {
    condition     = var.boot.deadman_minutes >= 10 && var.boot.deadman_minutes <= 1440
    error_message = "boot.deadman_minutes must be from 10 to 1440."
  }
}

variable "tags" {
  description = "Tags of machines and disks: an Auto Scaling Group hands on its own alone, not the provider's default_tags."
  type        = map(string)
  default     = {}
}
