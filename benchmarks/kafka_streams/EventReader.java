import java.io.IOException;
import java.util.Map;
import org.apache.avro.AvroRuntimeException;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.util.Utf8;

/** Values of the events topic -> events. Not for several threads. */
final class EventReader {
    /** A value that is no event: it becomes a dead letter. */
    static final class Rejected extends Exception {
        Rejected(String reason) {
            super(reason, null, false, false); // without the cost of a stack trace
        }
    }

    private static final Utf8 TASK_KEY = new Utf8("salesforce_task_id");
    private static final long EARLIEST_STAMP = 946_684_800_000L; // the year 2000
    private static final int MAX_ID_BYTES = 255;

    // The fields by their place in what is read.
    private static final int MESSAGE_ID = 0;
    private static final int STATUS_CODE = 1;
    private static final int[] TIMES = {2, 3};
    private static final int ACCOUNT = 4;
    private static final int METADATA = 5;

    private final byte[] prefix;
    private final int accountId;
    private final GenericDatumReader<GenericRecord> reader;
    private GenericRecord report;
    private BinaryDecoder decoder;

    EventReader(Schema schema) {
        prefix = Framing.prefix(schema);
        Schema wanted = Framing.only(
            schema,
            "message_id", "status_code", "date_received", "submitted_date", "vendor_account_id",
            "metadata");
        accountId = wanted.getField("vendor_account_id").schema().getField("account_id").pos();
        reader = new GenericDatumReader<>(schema, wanted);
    }

    Event read(byte[] value, long recordTime) throws Rejected {
        decode(value);
        String messageId = text(report.get(MESSAGE_ID), false);
        if (messageId == null) {
            throw new Rejected("no_message_id");
        }
        Object code = report.get(STATUS_CODE);
        if (code == null) {
            throw new Rejected("no_code");
        }
        if ((Integer) code < Collapse.MIN_CODE || (Integer) code > Collapse.MAX_CODE) {
            throw new Rejected("bad_code");
        }
        return new Event(
            messageId,
            (Integer) code,
            time(recordTime),
            text(((Map<?, ?>) report.get(METADATA)).get(TASK_KEY), true),
            text(((GenericRecord) report.get(ACCOUNT)).get(accountId), true));
    }

    private void decode(byte[] value) throws Rejected {
        if (value == null || value.length == 0) {
            throw new Rejected("empty_value");
        }
        if (!Framing.hasPrefix(value, prefix)) {
            throw new Rejected("bad_magic");
        }
        int size = value.length - Framing.SIZE;
        decoder = DecoderFactory.get().binaryDecoder(value, Framing.SIZE, size, decoder);
        try {
            report = reader.read(report, decoder);
            if (!decoder.isEnd()) {
                throw new Rejected("trailing_bytes");
            }
        } catch (IOException | AvroRuntimeException | IndexOutOfBoundsException error) {
            throw new Rejected("undecodable");
        }
    }

    /** The first usable stamp; never later than the record, which was there after the change. */
    private long time(long recordTime) {
        for (int field : TIMES) {
            Object stamp = report.get(field);
            if (stamp != null && (Long) stamp >= EARLIEST_STAMP) {
                return Math.min((Long) stamp, recordTime);
            }
        }
        return recordTime;
    }

    /** Null where there is none, or an empty one. */
    private static String text(Object raw, boolean strip) throws Rejected {
        if (raw == null) {
            return null;
        }
        if (((Utf8) raw).getByteLength() > MAX_ID_BYTES) {
            throw new Rejected("bad_id");
        }
        String text = strip ? raw.toString().strip() : raw.toString();
        return text.isEmpty() ? null : text;
    }
}
