variable "name" {
  description = "Prefix of every name, such as cloudfn-main."
  type        = string
}

variable "region" {
  description = "Region of the endpoints, such as eu-central-1."
  type        = string
}

variable "existing" {
  description = "A VPC and subnets that exist already; null makes a VPC of its own. Machines need a way to AWS's services from there."
  type = object({
    vpc_id     = string
    subnet_ids = list(string)
  })
  default = null

  validation {
    condition     = var.existing == null ? true : startswith(var.existing.vpc_id, "vpc-")
    error_message = "existing.vpc_id must be the id of a VPC: vpc-…"
  }

  validation {
    condition = var.existing == null ? true : length(var.existing.subnet_ids) > 0 && alltrue([
      for id in var.existing.subnet_ids : startswith(id, "subnet-")
    ])
    error_message = "existing.subnet_ids must be ids of one or more subnets: subnet-…"
  }
}

variable "cidr" {
  description = "Addresses of the VPC: a /16 to /20, of which each subnet gets a sixteenth."
  type        = string
  default     = "10.64.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.cidr)) && try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 20, false)
    error_message = "cidr must be an IPv4 network of size /16 to /20, such as 10.64.0.0/16."
  }
}

variable "zones" {
  description = "In how many availability zones machines may run. More zones find scarce GPUs more often."
  type        = number
  default     = 3

  validation {
    condition     = var.zones >= 1 && var.zones <= 6 && floor(var.zones) == var.zones
    error_message = "zones must be a whole number from 1 to 6."
  }
}

variable "egress" {
  description = "How machines reach what is outside: nat (private addresses, one NAT gateway, billed also when idle), addresses (a public address for each machine, nothing billed when idle, no port open), none (AWS's services alone, through endpoints)."
  type        = string
  default     = "nat"

  validation {
    condition     = contains(["nat", "addresses", "none"], var.egress)
    error_message = "egress must be nat, addresses or none."
  }
}

variable "interface_endpoints" {
  description = "Services that are reached by an interface endpoint in each zone, billed by the hour; those that machines need without another way out are added where egress is none."
  type        = set(string)
  default     = []
}
