import java.util.Arrays;

/** The latest time of each code that a message was reported with; a handful of them. */
final class History {
    private int[] codes = new int[6];
    private long[] times = new long[6];
    private int size;

    int size() {
        return size;
    }

    int code(int index) {
        return codes[index];
    }

    long time(int index) {
        return times[index];
    }

    boolean has(int code) {
        return find(code) >= 0;
    }

    long at(int code, long otherwise) {
        int index = find(code);
        return index < 0 ? otherwise : times[index];
    }

    /** Keeps the greater of the two times. Whether that changed anything. */
    boolean merge(int code, long at) {
        int index = find(code);
        if (index >= 0) {
            boolean later = at > times[index];
            times[index] = Math.max(at, times[index]);
            return later;
        }
        if (size == codes.length) {
            codes = Arrays.copyOf(codes, 2 * size);
            times = Arrays.copyOf(times, 2 * size);
        }
        codes[size] = code;
        times[size++] = at;
        return true;
    }

    private int find(int code) {
        for (int i = 0; i < size; i++) {
            if (codes[i] == code) {
                return i;
            }
        }
        return -1;
    }
}
