# auditcanary on Google Cloud: a Cloud Run service for each function, all from one image
# (Containerfile), a workflow for a run, a schedule, and a log bucket that nobody can shorten.
#
# Not tried where this was made: `terraform validate` and `plan` need Google's provider,
# which could not be had there. Formatting, syntax and references are under test
# (tests/infra). In a project of yours:
#
#   terraform -chdir=infra/gcp init && terraform -chdir=infra/gcp validate
#   terraform -chdir=infra/gcp plan -var project=PROJECT -var region=europe-west1 -var image=IMAGE
#
# The canaries that come with the program act in AWS; with this, the program runs on Google
# Cloud, and reaches AWS through workload identity federation (AWS_ROLE_ARN and
# AWS_WEB_IDENTITY_TOKEN_FILE, or AWS_PROFILE, in the secret of its environment).

terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.0, < 8.0"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}

locals {
  # memory and time as serverless.yml has them; packet holds a month of evidence on disk
  functions = {
    inject  = { memory = "512Mi", timeout = "900s", schedule = null }
    confirm = { memory = "1Gi", timeout = "900s", schedule = null }
    sweep   = { memory = "512Mi", timeout = "900s", schedule = "17 */6 * * *" }
    report  = { memory = "512Mi", timeout = "300s", schedule = null }
    packet  = { memory = "2Gi", timeout = "900s", schedule = "31 3 * * *" }
    trigger = { memory = "256Mi", timeout = "60s", schedule = null }
  }
  scheduled = { for name, f in local.functions : name => f if f.schedule != null }
  # who may call which service: nobody else, and the trigger is called by its own signatures
  workflow_calls = toset(["inject", "confirm", "report"])
}

# ---- Identities: one for each function, one for the workflow, one for the schedule.

resource "google_service_account" "function" {
  for_each     = local.functions
  account_id   = "auditcanary-${each.key}"
  display_name = "auditcanary ${each.key}"
}

resource "google_service_account" "workflow" {
  account_id   = "auditcanary-workflow"
  display_name = "auditcanary workflow: calls the functions of a run"
}

resource "google_service_account" "schedule" {
  account_id   = "auditcanary-schedule"
  display_name = "auditcanary schedule: starts the workflow, the sweep and the packet"
}

# ---- Configuration and secrets: in Secret Manager, never in the image or the state.
# Their versions are added by hand:
#   gcloud secrets versions add auditcanary-config --data-file=auditcanary.yaml
#   gcloud secrets versions add auditcanary-signing-key --data-file=signing.key

resource "google_secret_manager_secret" "config" {
  secret_id = "auditcanary-config"
  replication {
    auto {}
  }
}

resource "google_secret_manager_secret" "signing_key" {
  secret_id = "auditcanary-signing-key"
  replication {
    auto {}
  }
}

resource "google_secret_manager_secret_iam_member" "config" {
  for_each  = local.functions
  secret_id = google_secret_manager_secret.config.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.function[each.key].member
}

resource "google_secret_manager_secret_iam_member" "signing_key" {
  for_each  = local.functions
  secret_id = google_secret_manager_secret.signing_key.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.function[each.key].member
}

# ---- The key that signs packets (evidence.gcp_kms_key): only the packet function uses it.

resource "google_kms_key_ring" "evidence" {
  name     = "auditcanary"
  location = var.region
}

resource "google_kms_crypto_key" "signing" {
  name     = "packets"
  key_ring = google_kms_key_ring.evidence.id
  purpose  = "ASYMMETRIC_SIGN"
  version_template {
    algorithm        = "EC_SIGN_P256_SHA256"
    protection_level = "HSM"
  }
  lifecycle {
    prevent_destroy = true
  }
}

resource "google_kms_crypto_key_iam_member" "signing" {
  crypto_key_id = google_kms_crypto_key.signing.id
  role          = "roles/cloudkms.signerVerifier"
  member        = google_service_account.function["packet"].member
}

# ---- The functions.

resource "google_cloud_run_v2_service" "function" {
  for_each            = local.functions
  name                = "auditcanary-${each.key}"
  location            = var.region
  deletion_protection = false
  ingress             = each.key == "trigger" ? "INGRESS_TRAFFIC_ALL" : "INGRESS_TRAFFIC_INTERNAL_ONLY"

  template {
    service_account                  = google_service_account.function[each.key].email
    timeout                          = each.value.timeout
    max_instance_request_concurrency = each.key == "trigger" ? 20 : 1
    scaling {
      # one writer of the ledger at a time is enough; the ledger itself would stand more
      max_instance_count = each.key == "trigger" ? 3 : var.max_instances
    }
    containers {
      image   = var.image
      command = ["/${each.key}"]
      env {
        # the face of the Functions Framework
        name  = "FUNCTION_TARGET"
        value = each.key
      }
      env {
        name = "AUDITCANARY_SIGNING_KEY"
        value_source {
          secret_key_ref {
            secret  = google_secret_manager_secret.signing_key.secret_id
            version = "latest"
          }
        }
      }
      resources {
        limits = {
          cpu    = "1"
          memory = each.value.memory
        }
      }
      volume_mounts {
        name       = "config"
        mount_path = "/etc/auditcanary"
      }
    }
    volumes {
      name = "config"
      secret {
        secret = google_secret_manager_secret.config.secret_id
        items {
          version = "latest"
          path    = "auditcanary.yaml"
        }
      }
    }
  }

  depends_on = [
    google_secret_manager_secret_iam_member.config,
    google_secret_manager_secret_iam_member.signing_key,
  ]
}

resource "google_cloud_run_v2_service_iam_member" "workflow" {
  for_each = local.workflow_calls
  name     = google_cloud_run_v2_service.function[each.key].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_service_account.workflow.member
}

resource "google_cloud_run_v2_service_iam_member" "schedule" {
  for_each = local.scheduled
  name     = google_cloud_run_v2_service.function[each.key].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_service_account.schedule.member
}

# Slack and CI cannot sign in to Google: the trigger checks their signatures itself.
resource "google_cloud_run_v2_service_iam_member" "trigger" {
  count    = var.public_trigger ? 1 : 0
  name     = google_cloud_run_v2_service.function["trigger"].name
  location = var.region
  role     = "roles/run.invoker"
  member   = "allUsers"
}

# ---- A run: inject, wait for the delivery, confirm until it is decided, report.

resource "google_workflows_workflow" "run" {
  name            = "auditcanary-run"
  region          = var.region
  service_account = google_service_account.workflow.id
  source_contents = templatefile("${path.module}/run.yaml", {
    inject  = google_cloud_run_v2_service.function["inject"].uri
    confirm = google_cloud_run_v2_service.function["confirm"].uri
    report  = google_cloud_run_v2_service.function["report"].uri
  })
}

resource "google_workflows_workflow_iam_member" "schedule" {
  workflow = google_workflows_workflow.run.name
  region   = var.region
  role     = "roles/workflows.invoker"
  member   = google_service_account.schedule.member
}

# ---- The schedule.

resource "google_cloud_scheduler_job" "run" {
  for_each  = var.runs
  name      = "auditcanary-run-${each.key}"
  region    = var.region
  schedule  = each.value
  time_zone = "Etc/UTC"
  http_target {
    http_method = "POST"
    uri         = "https://workflowexecutions.googleapis.com/v1/${google_workflows_workflow.run.id}/executions"
    body        = base64encode(jsonencode({ argument = jsonencode({ every = each.key }) }))
    oauth_token {
      service_account_email = google_service_account.schedule.email
    }
  }
  retry_config {
    retry_count = 3
  }
}

resource "google_cloud_scheduler_job" "function" {
  for_each         = local.scheduled
  name             = "auditcanary-${each.key}"
  region           = var.region
  schedule         = each.value.schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "900s"
  http_target {
    http_method = "POST"
    uri         = google_cloud_run_v2_service.function[each.key].uri
    body        = base64encode("{}")
    oidc_token {
      service_account_email = google_service_account.schedule.email
    }
  }
}

# ---- The program's own logs, where nobody can take them away before their time. Locking
# cannot be undone, and a locked bucket can be deleted only when it is empty.

resource "google_logging_project_bucket_config" "locked" {
  project        = var.project
  location       = var.region
  bucket_id      = "auditcanary"
  retention_days = var.log_retention_days
  locked         = var.lock_logs
}

resource "google_logging_project_sink" "locked" {
  name                   = "auditcanary"
  destination            = "logging.googleapis.com/${google_logging_project_bucket_config.locked.id}"
  filter                 = "logName:\"cloudaudit.googleapis.com\" OR (resource.type=\"cloud_run_revision\" AND resource.labels.service_name:\"auditcanary-\")"
  unique_writer_identity = true
}
