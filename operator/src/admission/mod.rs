//! Refuses what the schemas cannot: a validating webhook.
