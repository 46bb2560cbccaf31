import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.List;
import org.apache.avro.Schema;
import org.apache.avro.SchemaNormalization;

/** Avro's single-object encoding: C3 01, the schema's fingerprint, the record. */
final class Framing {
    static final int SIZE = 10;

    private Framing() {}

    static byte[] prefix(Schema schema) {
        return ByteBuffer.allocate(SIZE)
            .order(ByteOrder.LITTLE_ENDIAN)
            .put((byte) 0xC3)
            .put((byte) 0x01)
            .putLong(SchemaNormalization.parsingFingerprint64(schema))
            .array();
    }

    static boolean hasPrefix(byte[] value, byte[] prefix) {
        return value.length >= SIZE && Arrays.equals(value, 0, SIZE, prefix, 0, SIZE);
    }

    /** The schema with these fields alone, in their order here: Avro skips the others. */
    static Schema only(Schema schema, String... names) {
        List<Schema.Field> fields = Arrays.stream(names)
            .map(schema::getField)
            .map(field -> new Schema.Field(field, field.schema()))
            .toList();
        return Schema.createRecord(
            schema.getName(), schema.getDoc(), schema.getNamespace(), false, fields);
    }
}
