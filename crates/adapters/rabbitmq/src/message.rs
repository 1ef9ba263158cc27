//! A message as it lies in RabbitMQ: a small JSON object, for people who look there. Its type is its routing key.

use lapin::BasicProperties;
use profile_domain::{TaskId, TaskType, TenantId};
use profile_ports::queue::Message;
use serde::Deserialize;
use uuid::Uuid;

/// Written to the disk before it is confirmed.
const PERSISTENT: u8 = 2;

#[derive(Deserialize)]
struct Body {
    tenant: String,
    task: Uuid,
}

/// What is published. Neither name needs escaping.
pub(crate) fn body(message: &Message) -> Vec<u8> {
    format!(r#"{{"tenant":"{}","task":"{}"}}"#, message.tenant, message.task).into_bytes()
}

/// What is said about it.
pub(crate) fn properties() -> BasicProperties {
    BasicProperties::default().with_delivery_mode(PERSISTENT).with_content_type("application/json".into())
}

/// `None` if this is nothing that [`body`] gives; members that later versions may add are left out.
pub(crate) fn read(task_type: &TaskType, body: &[u8]) -> Option<Message> {
    let Body { tenant, task } = serde_json::from_slice(body).ok()?;
    Some(Message { tenant: TenantId::parse(&tenant).ok()?, task: TaskId(task), task_type: task_type.clone() })
}

#[cfg(test)]
mod tests {
    use super::{Message, TaskId, TaskType, TenantId, Uuid, body, read};

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let task_type = TaskType::parse("profile.export").expect("a type");
        let tenant = TenantId::parse("a-1").expect("a tenant");
        let message = Message { tenant, task: TaskId(Uuid::from_u128(7)), task_type: task_type.clone() };
        assert_eq!(read(&task_type, &body(&message)), Some(message));
        let later = br#"{"tenant":"a","task":"00000000-0000-0000-0000-000000000007","more":1}"#;
        assert!(read(&task_type, later).is_some());
        for wrong in ["", "{}", "null", r#"{"tenant":"A B","task":"00000000-0000-0000-0000-000000000007"}"#] {
            assert_eq!(read(&task_type, wrong.as_bytes()), None, "{wrong}");
        }
    }
}
