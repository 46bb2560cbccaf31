import java.nio.charset.StandardCharsets;
import java.util.concurrent.atomic.LongAdder;
import org.apache.avro.Schema;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/** Events -> statuses, one record at a time, with the state of each message in a store. */
final class CollapseProcessor implements Processor<String, byte[], String, byte[]> {
    static final String STORE = "statuses";
    static final String STATUS_SINK = "status-sink";
    static final String DEAD_LETTER_SINK = "dead-letter-sink";

    /** What was done, by all threads. */
    static final class Counts {
        final LongAdder events = new LongAdder();
        final LongAdder statuses = new LongAdder();
        final LongAdder deadLetters = new LongAdder();
        final LongAdder ignored = new LongAdder();
    }

    private final EventReader reader;
    private final StatusCodec codec;
    private final Counts counts;
    private ProcessorContext<String, byte[]> context;
    private KeyValueStore<String, byte[]> store;

    CollapseProcessor(Schema events, Schema statuses, Counts counts) {
        reader = new EventReader(events);
        codec = new StatusCodec(statuses);
        this.counts = counts;
    }

    @Override
    public void init(ProcessorContext<String, byte[]> context) {
        this.context = context;
        store = context.getStateStore(STORE);
    }

    @Override
    public void process(Record<String, byte[]> record) {
        counts.events.increment();
        try {
            collapse(reader.read(record.value(), record.timestamp()), record);
        } catch (EventReader.Rejected rejected) {
            counts.deadLetters.increment();
            Record<String, byte[]> letter = record.withHeaders(record.headers());
            letter.headers().add(
                "__connect.errors.exception.message",
                rejected.getMessage().getBytes(StandardCharsets.UTF_8));
            context.forward(letter, DEAD_LETTER_SINK);
        }
    }

    private void collapse(Event event, Record<String, byte[]> record) {
        if (event.taskId() == null) {
            counts.ignored.increment();
            return;
        }
        byte[] before = store.get(event.messageId());
        Status status = before == null ? new Status() : codec.decode(before);
        if (!status.merge(event, context.currentSystemTimeMs())) {
            return;
        }
        byte[] after = codec.encode(event.messageId(), status);
        store.put(event.messageId(), after);
        counts.statuses.increment();
        context.forward(record.withKey(event.messageId()).withValue(after), STATUS_SINK);
    }
}
