{{ booked_contacts('calendly', 'invitees', 'created_at') }}
