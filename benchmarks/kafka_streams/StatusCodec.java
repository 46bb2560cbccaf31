import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.HashMap;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;

/**
 * A message's status <-> the value of the status topic, which the state store holds as well.
 * Nothing is ever settled here. Not for several threads.
 */
final class StatusCodec {
    private final Schema schema;
    private final byte[] prefix;
    private final GenericRecord settled;
    private final GenericDatumWriter<GenericRecord> writer;
    private final GenericDatumReader<GenericRecord> reader;
    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream(512);
    private GenericRecord kept;
    private BinaryEncoder encoder;
    private BinaryDecoder decoder;

    StatusCodec(Schema schema) {
        this.schema = schema;
        prefix = Framing.prefix(schema);
        settled = neverSettled(schema.getField("settled").schema());
        writer = new GenericDatumWriter<>(schema);
        reader = new GenericDatumReader<>(schema, Framing.only(
            schema,
            "code", "history", "task_id", "task_at", "account_id", "account_at", "version",
            "version_at"));
    }

    byte[] encode(String messageId, Status status) {
        GenericRecord record = new GenericData.Record(schema);
        record.put(0, messageId);
        record.put(1, orEmpty(status.accountId));
        record.put(2, status.accountAt);
        record.put(3, orEmpty(status.taskId));
        record.put(4, status.taskAt);
        record.put(5, status.code);
        record.put(6, Collapse.category(status.code));
        record.put(7, Collapse.description(status.code));
        record.put(8, Collapse.isFinal(status.code));
        record.put(9, status.history.at(status.code, 0));
        record.put(10, historyOf(status));
        record.put(11, status.version);
        record.put(12, status.versionAt);
        record.put(13, settled);
        bytes.reset();
        bytes.writeBytes(prefix);
        try {
            encoder = EncoderFactory.get().binaryEncoder(bytes, encoder);
            writer.write(record, encoder);
            encoder.flush();
        } catch (IOException error) {
            throw new UncheckedIOException(error); // memory does not fail
        }
        return bytes.toByteArray();
    }

    Status decode(byte[] value) {
        int size = value.length - Framing.SIZE;
        decoder = DecoderFactory.get().binaryDecoder(value, Framing.SIZE, size, decoder);
        try {
            kept = reader.read(kept, decoder);
        } catch (IOException error) {
            throw new UncheckedIOException(error); // we have written it
        }
        Status status = new Status();
        status.code = (Integer) kept.get(0);
        for (Map.Entry<?, ?> entry : ((Map<?, ?>) kept.get(1)).entrySet()) {
            status.history.merge(Integer.parseInt(entry.getKey().toString()), (Long) entry.getValue());
        }
        status.taskId = orNull(kept.get(2));
        status.taskAt = (Long) kept.get(3);
        status.accountId = orNull(kept.get(4));
        status.accountAt = (Long) kept.get(5);
        status.version = (Long) kept.get(6);
        status.versionAt = (Long) kept.get(7);
        return status;
    }

    private static GenericRecord neverSettled(Schema schema) {
        GenericRecord none = new GenericData.Record(schema);
        none.put("version", 0L);
        none.put("code", 0);
        none.put("at", 0L);
        none.put("outcome", new GenericData.EnumSymbol(schema.getField("outcome").schema(), "none"));
        return none;
    }

    private static Map<String, Long> historyOf(Status status) {
        Map<String, Long> history = new HashMap<>();
        for (int i = 0; i < status.history.size(); i++) {
            history.put(Integer.toString(status.history.code(i)), status.history.time(i));
        }
        return history;
    }

    private static String orEmpty(String text) {
        return text == null ? "" : text;
    }

    private static String orNull(Object text) {
        String found = text.toString();
        return found.isEmpty() ? null : found;
    }
}
