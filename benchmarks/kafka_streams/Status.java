/** All that is known of one message, and what becomes of it when an event comes in. */
final class Status {
    final History history = new History();
    int code; // 0: no event yet
    String taskId;
    long taskAt;
    String accountId;
    long accountAt;
    long version;
    long versionAt;

    /** Whether the event told anything new. `now` (ms) is when a new version is made. */
    boolean merge(Event event, long now) {
        boolean first = code == 0;
        boolean changed = history.merge(event.code(), event.time());
        String taskBefore = taskId;
        if (first || isLater(event.time(), event.taskId(), taskAt, taskId)) {
            taskId = event.taskId();
            taskAt = event.time();
            changed = true;
        }
        if (first || isLater(event.time(), event.accountId(), accountAt, accountId)) {
            accountId = event.accountId();
            accountAt = event.time();
            changed = true;
        }
        if (!changed) {
            return false;
        }
        int codeBefore = code;
        code = Collapse.resolve(history);
        if (code != codeBefore || !equal(taskId, taskBefore)) {
            version++;
            versionAt = now;
        }
        return true;
    }

    /** A last-writer register: the later value, then the greater; one once known stays. */
    private static boolean isLater(long at, String value, long knownAt, String known) {
        if (equal(value, known)) {
            return at > knownAt;
        }
        if (value == null || known == null) {
            return known == null;
        }
        return at != knownAt ? at > knownAt : value.compareTo(known) > 0;
    }

    private static boolean equal(String one, String other) {
        return one == null ? other == null : one.equals(other);
    }
}
