-- Format 2 of a file of keys: what tells a key from one that was damaged. Keys of format 1 have none.

ALTER TABLE keys ADD COLUMN proof BLOB;
