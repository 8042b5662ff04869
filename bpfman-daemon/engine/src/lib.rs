//! The one owner of state: validate, plan, execute with undo, record, reconcile
