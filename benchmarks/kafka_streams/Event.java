/** One delivery report. A null Task or account: the report names none. */
record Event(String messageId, int code, long time, String taskId, String accountId) {}
