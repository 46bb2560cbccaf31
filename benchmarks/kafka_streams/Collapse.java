import java.util.Map;

/**
 * The collapse rule: the codes of a message with the latest time of each -> its current code.
 *
 * <p>As processor/core/collapse.py and processor/core/codes.py have it.
 */
final class Collapse {
    static final int MIN_CODE = 100;
    static final int MAX_CODE = 499;

    private static final int REROUTED = 102;
    private static final int DELIVERED = 220;
    private static final int ON_HANDSET = 221;
    private static final long BEGINNING = -1; // before every event time: never rerouted

    private static final Map<Integer, String> TEXTS = Map.ofEntries(
        Map.entry(101, "Message being processed by the gateway"),
        Map.entry(
            102,
            "Message is being rerouted to a different provider after failing via the first provider"),
        Map.entry(151, "Message held for screening"),
        Map.entry(200, "Message submitted to downstream provider for delivery"),
        Map.entry(210, "Message accepted by downstream provider"),
        Map.entry(211, "Message is enroute for delivery by provider"),
        Map.entry(212, "Message submitted. Delivery pending"),
        Map.entry(213, "Message scheduled for delivery by downstream provider"),
        Map.entry(220, "Message delivered"),
        Map.entry(221, "Message delivered to the handset"),
        Map.entry(301, "Usage threshold reached. Message discarded"),
        Map.entry(302, "Destination address blocked. Message discarded"),
        Map.entry(303, "Source address blocked. Message discarded"),
        Map.entry(304, "Message dropped. Contact support"),
        Map.entry(305, "Message discarded due to duplicate detection"),
        Map.entry(320, "Message validity period has expired (prior to submission)"),
        Map.entry(330, "Gateway failure"),
        Map.entry(331, "Message discarded"),
        Map.entry(332, "No available route to destination"),
        Map.entry(333, "Source address unsupported for this destination"),
        Map.entry(400, "Message failed; undeliverable"),
        Map.entry(401, "Message validity period has expired (before delivery)"),
        Map.entry(402, "Message rejected by downstream provider"),
        Map.entry(403, "Message skipped by downstream provider"),
        Map.entry(405, "Message cancelled or deleted by provider"),
        Map.entry(410, "Invalid source address"),
        Map.entry(411, "Invalid destination address"),
        Map.entry(412, "Destination address blocked"),
        Map.entry(413, "SMS service unavailable on destination"),
        Map.entry(414, "Destination unreachable"));

    private static final String[] CATEGORIES = {"Processing", "Delivery", "Discarded", "Failed"};

    private Collapse() {}

    /**
     * 1. Delivered beats everything; 221 refines 220. 2. Else the latest failure after the last
     * reroute. 3. Else how far the message has come since that reroute. Where times are equal, a
     * known code beats an unknown one, then the greater code wins.
     */
    static int resolve(History history) {
        if (history.has(ON_HANDSET)) {
            return ON_HANDSET;
        }
        if (history.has(DELIVERED)) {
            return DELIVERED;
        }
        long reroutedAt = history.at(REROUTED, BEGINNING);
        int failure = latestFailure(history, reroutedAt);
        return failure != 0 ? failure : furthest(history, reroutedAt);
    }

    static String category(int code) {
        return CATEGORIES[code / 100 - 1];
    }

    static String description(int code) {
        String text = TEXTS.get(code);
        return text != null ? text : "Unknown status code " + code;
    }

    static boolean isFinal(int code) {
        return stage(code) >= 4;
    }

    private static int latestFailure(History history, long reroutedAt) {
        int best = 0;
        long bestAt = BEGINNING;
        for (int i = 0; i < history.size(); i++) {
            int code = history.code(i);
            long at = history.time(i);
            if (!isUndelivered(code) || at <= reroutedAt) {
                continue;
            }
            if (best == 0 || at > bestAt || at == bestAt && isPreferred(code, best)) {
                best = code;
                bestAt = at;
            }
        }
        return best;
    }

    private static int furthest(History history, long reroutedAt) {
        int best = 0;
        long bestAt = BEGINNING;
        for (int i = 0; i < history.size(); i++) {
            int code = history.code(i);
            long at = history.time(i);
            if (isUndelivered(code) || at < reroutedAt) {
                continue;
            }
            if (best == 0 || isFurther(code, at, best, bestAt)) {
                best = code;
                bestAt = at;
            }
        }
        return best;
    }

    private static boolean isFurther(int code, long at, int best, long bestAt) {
        if (stage(code) != stage(best)) {
            return stage(code) > stage(best);
        }
        if (isKnown(code) != isKnown(best)) {
            return isKnown(code);
        }
        return at > bestAt || at == bestAt && code > best;
    }

    private static boolean isPreferred(int code, int best) {
        return isKnown(code) != isKnown(best) ? isKnown(code) : code > best;
    }

    private static boolean isUndelivered(int code) {
        return code >= 300;
    }

    private static boolean isKnown(int code) {
        return TEXTS.containsKey(code);
    }

    private static int stage(int code) {
        return switch (code) {
            case REROUTED -> 1;
            case 210, 211, 212, 213 -> 3;
            case DELIVERED -> 5;
            case ON_HANDSET -> 6;
            default -> code < 200 ? 0 : code < 300 ? 2 : 4;
        };
    }
}
