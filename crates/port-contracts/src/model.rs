//! A plain in-memory model (to be written).
use crate::Fixture;
/// Placeholder.
pub async fn model_agrees<F: Fixture>() {
    let _ = F::fresh(profile_domain::Policy::default()).await;
}
