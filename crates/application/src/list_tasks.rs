//! `GET /api/v1/tasks`: pages of tasks, the newest first.

use profile_domain::{Task, TaskId, TenantId, task::TaskQuery};
use profile_ports::Deadline;
use sha2::{Digest, Sha256};

use crate::{App, ListError, MAX_LIMIT, cursor};

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskListRequest {
    /// What to list; `after` is left out, and the limit is 1–[`MAX_LIMIT`].
    pub query: TaskQuery,
    /// From `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// One page.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskPage {
    /// The tasks.
    pub items: Vec<Task>,
    /// What to ask for next; `None` on the last page.
    pub next_cursor: Option<String>,
}

impl App {
    /// One page of tasks.
    ///
    /// # Errors
    /// See [`ListError`].
    pub async fn list_tasks(
        &self,
        tenant: &TenantId,
        request: &TaskListRequest,
        deadline: Deadline,
    ) -> Result<TaskPage, ListError> {
        let mut query = request.query.clone();
        if !(1..=MAX_LIMIT).contains(&query.limit) {
            let message = format!("must be a number from 1 to {MAX_LIMIT}");
            return Err(ListError::Invalid { parameter: "limit", message });
        }
        let of = described(&query);
        self.keyring.load(&*self.store, self.environment.new_secret, deadline).await?;
        if let Some(text) = &request.cursor {
            let key = cursor::task_key_id(text).ok_or(ListError::InvalidCursor)?;
            if !self.keyring.knows(key) {
                self.keyring.reload(&*self.store, self.environment.new_secret, deadline).await?;
            }
            query.after = Some(cursor::open_task(&self.keyring, tenant, of, text).ok_or(ListError::InvalidCursor)?);
        }
        // One more than asked for tells whether there is a next page.
        query.limit += 1;
        let mut items = self.store.tasks(tenant, &query, deadline).await?;
        let more = items.len() >= query.limit;
        items.truncate(query.limit - 1);
        let next_cursor = match items.last() {
            Some(last) if more => cursor::seal_task(&self.keyring, tenant, of, last.id),
            _ => None,
        };
        Ok(TaskPage { items, next_cursor })
    }
}

/// A query but for its place and the size of its pages.
fn described(query: &TaskQuery) -> [u8; 32] {
    let query = TaskQuery { after: None::<TaskId>, limit: 0, ..query.clone() };
    Sha256::digest(format!("{query:?}").as_bytes()).into()
}
