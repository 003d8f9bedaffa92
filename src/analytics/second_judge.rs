//! The second judge of an instance: how it is asked for, and what it says of a device.

use super::Analytics;
use super::novelty::{FieldNovelty, NoveltySettings};
use super::novelty_summary::NoveltySummary;
use crate::schema::Field;

impl Analytics {
    /// Asks the second judge as well. To be called before the first event.
    #[must_use]
    pub fn with_novelty(mut self, settings: NoveltySettings) -> Self {
        for shard in &self.shards {
            shard.lock().ask_novelty(settings.clone());
        }
        self.novelty = Some(settings);
        self
    }

    /// Returns the settings of the second judge, if it is asked.
    pub const fn novelty(&self) -> Option<&NoveltySettings> {
        self.novelty.as_ref()
    }

    /// Returns what the second judge says of a device, by the fields of the schema.
    pub(super) fn novelty_summaries(&self, copies: &[FieldNovelty]) -> Vec<Option<NoveltySummary>> {
        let of = |field: &Field| copies.iter().find(|it| usize::from(it.field) == field.index());
        let Some(NoveltySettings { day, .. }) = &self.novelty else {
            return Vec::new();
        };
        let fields = self.rules.schema.fields().iter();
        fields.map(|field| of(field).map(|copy| NoveltySummary::new(copy, day))).collect()
    }

    /// Returns memory for what the second judge knows of a device.
    pub(super) fn novelty_copies(&self) -> Vec<FieldNovelty> {
        let fields = self.novelty.as_ref().map_or(0, |_| self.rules.schema.fields().len());
        Vec::with_capacity(fields)
    }
}
