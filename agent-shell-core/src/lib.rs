//! A durable agent runtime to embed in a host application.
