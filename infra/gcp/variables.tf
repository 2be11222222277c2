variable "project" {
  type        = string
  description = "Project that the functions run in; one of its own."
}

variable "region" {
  type        = string
  description = "Region of everything here."
  default     = "europe-west1"
}

variable "image" {
  type        = string
  description = "The image of infra/gcp/Containerfile, by its digest (…@sha256:…)."
  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "Name the image by its digest, so that what runs is what was built."
  }
}

variable "runs" {
  type        = map(string)
  description = "When the scenarios of each cadence run, in UTC."
  default = {
    hourly = "7 * * * *"
    daily  = "23 4 * * *"
    weekly = "41 5 * * 1"
  }
}

variable "max_instances" {
  type        = number
  description = "How many shards run at a time."
  default     = 10
}

variable "public_trigger" {
  type        = bool
  description = "Whether anybody may call the trigger, which checks signatures itself (Slack needs it)."
  default     = false
}

variable "log_retention_days" {
  type        = number
  description = "For how long the locked bucket keeps logs."
  default     = 400
}

variable "lock_logs" {
  type        = bool
  description = "Whether the bucket is locked, for ever. Try it out without."
  default     = false
}
