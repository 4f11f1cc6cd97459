select
    {{ guid(["'absence'", 'rep_id', 'source', 'starts_at', 'ends_at', 'known_from']) }} as absence_id,
    rep_id,
    source,
    starts_at,
    ends_at,
    known_from,
    known_to,
    known_to is null as is_known,
from {{ ref('int_reps__absences') }}
