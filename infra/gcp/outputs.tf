output "services" {
  description = "Addresses of the functions."
  value       = { for name, s in google_cloud_run_v2_service.function : name => s.uri }
}

output "signing_key" {
  description = "evidence.gcp_kms_key of the configuration: its first version."
  value       = "${google_kms_crypto_key.signing.id}/cryptoKeyVersions/1"
}

output "service_accounts" {
  description = "Who the functions are, for the trust of AWS roles (accounts.google.com:sub)."
  value       = { for name, a in google_service_account.function : name => a.unique_id }
}

output "log_writer" {
  description = "Must be allowed roles/logging.bucketWriter on the bucket if it is in another project."
  value       = google_logging_project_sink.locked.writer_identity
}
