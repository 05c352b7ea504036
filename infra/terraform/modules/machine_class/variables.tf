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

  validation {
    condition     = var.architecture == "x86_64" || !var.gpu || var.image != null
    error_message = "Amazon's image with the GPU driver is for x86_64: an arm64 class with GPUs has to name an image."
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

variable "warm_pool" {
  description = "Machines that are made ready beforehand and stopped, or left running, until they are needed: as many as are missing to max_prepared, and min_size at least. They bill their disks (state = \"Stopped\") or all they are (\"Running\"). Of one type and on-demand alone; null keeps none."
  type = object({
    max_prepared = number
    min_size     = optional(number, 0)
    state        = optional(string, "Stopped")
  })
  default = null

  validation {
    condition     = var.warm_pool == null ? true : contains(["Stopped", "Running"], var.warm_pool.state)
    error_message = "warm_pool.state must be Stopped or Running."
  }

  validation {
    condition     = var.warm_pool == null ? true : var.warm_pool.min_size >= 0 && var.warm_pool.min_size <= var.warm_pool.max_prepared && var.warm_pool.max_prepared >= 1 && var.warm_pool.max_prepared <= var.max_machines
    error_message = "warm_pool.max_prepared must be from 1 to max_machines, and min_size from 0 to max_prepared."
  }

  validation {
    condition     = var.warm_pool == null ? true : var.purchase == "on-demand" && length(var.instance_types) == 1
    error_message = "warm_pool needs a class of one type that is bought on-demand: Auto Scaling keeps no warm pool of Spot machines or of mixed types."
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
